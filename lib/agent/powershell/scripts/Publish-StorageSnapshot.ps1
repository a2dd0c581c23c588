<#
.SYNOPSIS
    Exposes the shadow copies of a storage snapshot at their mount points.
.DESCRIPTION
    Input: { settings, tag, scriptText, timeoutMs }. Output: { output, live }.
    Source: hyperv.md 2.3 (expose <shadowId> <mountpoint>, in a second script, by id).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Storage.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $folder = Get-GcbStateFolder -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots'
    $base = [System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $Request.tag) + '.expose')
    $output = Invoke-GcbDiskShadow -ScriptText $Request.scriptText -BasePath $base -Subject $Request.tag -TimeoutMs ([int]$Request.timeoutMs)
    [ordered]@{ output = $output; live = @(Get-GcbLiveShadow) }
}
