<#
.SYNOPSIS
    What this agent recorded of storage snapshots, and the shadow copies that exist now.
.DESCRIPTION
    Input: { settings }. Output: { records: [{ tag, method, startedAtMs, before, volumes, shadowIds, output }], live }.
    Which shadow copy belongs to which record is decided by the agent.
    Source: hyperv.md 2.3 (Win32_ShadowCopy).
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
    $records = @(Get-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots' | ForEach-Object -Process {
            $outputPath = [System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $_.tag) + '.out')
            $output = ''
            if ([System.IO.File]::Exists($outputPath)) { $output = [System.IO.File]::ReadAllText($outputPath) }
            [ordered]@{
                tag         = [string]$_.tag
                method      = [string]$_.method
                startedAtMs = [long]$_.startedAtMs
                before      = @($_.before)
                volumes     = @($_.volumes)
                shadowIds   = @($_.shadowIds)
                output      = $output
            }
        })
    [ordered]@{ records = $records; live = @(Get-GcbLiveShadow) }
}
