<#
.SYNOPSIS
    The storage snapshot of ONE volume through Win32_ShadowCopy, where diskshadow cannot be used.
.DESCRIPTION
    Input: { settings, tag, volume: { directory, deviceId } }. Output: { output: "", live }.
    One volume per call, no provider, no set: never a substitute where the disks span volumes.
    Source: hyperv.md 2.3, fallback (Create and its return values).
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
    $record = [ordered]@{
        tag         = [string]$Request.tag
        method      = 'win32-shadow-copy'
        startedAtMs = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        before      = @(Get-GcbLiveShadow | ForEach-Object -Process { $_.id })
        volumes     = @([ordered]@{ directory = [string]$Request.volume.directory; deviceId = [string]$Request.volume.deviceId; mountPoint = '' })
        shadowIds   = @()
    }
    Save-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots' -Tag $Request.tag -Record $record
    $result = Invoke-CimMethod -Namespace 'root/cimv2' -ClassName Win32_ShadowCopy -MethodName Create -Arguments @{ Volume = [string]$Request.volume.deviceId; Context = 'ClientAccessible' }
    $returnValue = [int]$result.ReturnValue
    if ($returnValue -ne 0) {
        Remove-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots' -Tag $Request.tag
        Stop-GcbVerb -Code 'HV_CALL_FAILED' -Subject $Request.volume.directory -Message "Win32_ShadowCopy.Create for $($Request.volume.directory) returned $returnValue." -WmiReturnValue $returnValue -Remedy 'See docs/hyperv-commands.md for the value; 6 is insufficient storage, 9 another operation in progress, 10 provider veto.'
    }
    $record['shadowIds'] = @(ConvertTo-GcbGuid -Text ([string]$result.ShadowID))
    Save-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'storage-snapshots' -Tag $Request.tag -Record $record
    [ordered]@{ output = ''; live = @(Get-GcbLiveShadow); shadowId = $record['shadowIds'][0] }
}
