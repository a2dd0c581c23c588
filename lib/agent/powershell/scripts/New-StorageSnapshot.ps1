<#
.SYNOPSIS
    ONE storage snapshot of several volumes, taken by diskshadow.
.DESCRIPTION
    Input: { settings, tag, volumes: [{ directory, deviceId, mountPoint }], scriptText, timeoutMs }.
    Output: { output, live }: the text of diskshadow and the shadow copies that exist afterwards.
    The agent makes scriptText from checked parts (lib/agent/powershell/diskshadow.ts) and reads the ids from the output.
    The record is there before diskshadow starts; it names the mount points, so that a release finds them after a crash.
    Source: hyperv.md 2.3, 5 (only one set in creation at a time).
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
    $base = [System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $Request.tag))
    $record = [ordered]@{
        tag         = [string]$Request.tag
        method      = 'diskshadow'
        startedAtMs = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        before      = @(Get-GcbLiveShadow | ForEach-Object -Process { $_.id })
        volumes     = @($Request.volumes)
        shadowIds   = @()
    }
    Save-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots' -Tag $Request.tag -Record $record
    foreach ($volume in @($Request.volumes)) {
        if ([string]$volume.mountPoint -ne '') { [void][System.IO.Directory]::CreateDirectory($volume.mountPoint) }
    }
    $output = Invoke-GcbDiskShadow -ScriptText $Request.scriptText -BasePath $base -Subject $Request.tag -TimeoutMs ([int]$Request.timeoutMs)
    [ordered]@{ output = $output; live = @(Get-GcbLiveShadow) }
}
